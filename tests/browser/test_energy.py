"""The Energy dashboard."""

from playwright.async_api import Locator, expect
import pytest

from .frontend import Frontend
from .home import Home, title
from .texts import LANGUAGES
from .visitor import HOUR_OF_THE_DAY

# The 24 hours before `HOUR_OF_THE_DAY`, and the energy of each hour in kWh: production
# of the roof, consumption of the house, and the energy from and to the grid.
HOURS = [hour % 24 for hour in range(HOUR_OF_THE_DAY - 24, HOUR_OF_THE_DAY)]
SUN = [max(0.0, 3.2 - abs(hour - 13) * 0.6) for hour in HOURS]
HOUSE = [1.4 if hour > 16 else 0.4 if hour < 7 else 0.9 for hour in HOURS]
FROM_GRID = [max(0.0, house - sun) for house, sun in zip(HOUSE, SUN, strict=True)]
TO_GRID = [max(0.0, sun - house) for house, sun in zip(HOUSE, SUN, strict=True)]


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
async def test_energy_dashboard_shows_the_metered_energy(
    home: Home, frontend: Frontend
) -> None:
    texts = frontend.texts
    grid, solar = await home.set_up_meters(1, 2, language=texts.language)
    hourly_energies = {
        grid["energy_consumed"]: FROM_GRID,
        grid["energy_produced"]: TO_GRID,
        solar["energy_produced"]: SUN,
    }
    await home.import_statistics(hourly_energies)
    await home.set_up_energy_dashboard(grid, solar)
    await frontend.open("/energy/electricity")
    await expect(frontend.page.locator("ha-chart-base canvas").first).to_be_visible()
    totals = frontend.page.locator("hui-energy-sources-table-card")
    consumed = texts("entity.sensor.energy_consumed.name")
    produced = texts("entity.sensor.energy_produced.name")
    # The dashboard shows the energy to the grid as a negative value.
    for name, energies, sign in (
        (f"{title(1)} {consumed}", FROM_GRID, 1),
        (f"{title(1)} {produced}", TO_GRID, -1),
        (f"{title(2)} {produced}", SUN, 1),
    ):
        row = totals.get_by_role("row").filter(has_text=name)
        # The row shows the energy since midnight: the sum of the last `energies`, plus
        # the energy of any hour that has ended since Home Assistant started.
        added = sign * await kwh(row) - sum(energies[-HOUR_OF_THE_DAY:])
        assert -0.1 < added < 1, name
    await frontend.picture("energy", height=1240)


async def kwh(row: Locator) -> float:
    """Return the energy in a row of the table in kWh."""
    cell = row.locator("td").last
    await expect(cell).to_contain_text("kWh")
    shown = (await cell.inner_text()).removesuffix("kWh")
    return float(shown.replace(",", ".").replace("\N{MINUS SIGN}", "-"))
