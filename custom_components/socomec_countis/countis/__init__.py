"""A library to read and set Socomec COUNTIS meters, independent of Home Assistant.

`X as X` marks a name as part of the public interface.
"""

from .block import Values as Values
from .bus import Bus as Bus
from .commands import Publish as Publish
from .commands import async_confirm_tariff as async_confirm_tariff
from .commands import async_reset_partial_counters as async_reset_partial_counters
from .commands import async_reset_tariff_counters as async_reset_tariff_counters
from .commands import async_set_clock as async_set_clock
from .commands import async_set_tariff as async_set_tariff
from .commands import tariffs as tariffs
from .errors import AnotherMeterError as AnotherMeterError
from .errors import CommandError as CommandError
from .errors import CountisError as CountisError
from .errors import EchoError as EchoError
from .errors import ImplausibleError as ImplausibleError
from .errors import NotACountisError as NotACountisError
from .line_settings import SCAN_SETTINGS as SCAN_SETTINGS
from .line_settings import LineSettings as LineSettings
from .line_settings import settings_to_try as settings_to_try
from .meter import Meter as Meter
from .meter import Reading as Reading
from .partial_tariffs import CalculatedCounters as CalculatedCounters
from .partial_tariffs import PartialReset as PartialReset
from .plausibility import Correction as Correction
from .poller import Polled as Polled
from .poller import Poller as Poller
from .poller import PollError as PollError
from .probe import UNIT_IDS as UNIT_IDS
from .profile import COUNTER_BLOCKS as COUNTER_BLOCKS
from .profile import Profile as Profile
from .profile import async_take_profile as async_take_profile
from .registers import BLOCK_OF as BLOCK_OF
from .registers import PARTIAL_CONSUMED as PARTIAL_CONSUMED
from .registers import PARTIAL_COUNTERS as PARTIAL_COUNTERS
from .registers import PARTIAL_TARIFF_COUNTERS as PARTIAL_TARIFF_COUNTERS
from .registers import SERIAL_NUMBER_REGISTERS as SERIAL_NUMBER_REGISTERS
from .registers import SET_TARIFF as SET_TARIFF
from .registers import TARIFF_COUNTERS as TARIFF_COUNTERS
from .scan import FoundMeter as FoundMeter
from .scan import OpenBus as OpenBus
from .scan import Scan as Scan
from .traffic import Traffic as Traffic
from .wiring import UnmetCondition as UnmetCondition
from .wiring import Wiring as Wiring
from .wiring import check_wiring as check_wiring
