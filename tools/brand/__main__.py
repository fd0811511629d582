"""Writes all pictures into the integration: `python -m tools.brand`."""

import argparse


def main() -> None:
    """Write every picture."""
    argparse.ArgumentParser(
        prog="./scripts/brand",
        description="Draws the icon and the logo into custom_components/*/brand.",
    ).parse_args()
    # Import this after the arguments are parsed, so that --help needs no packages.
    from .pictures import BRAND_FOLDER, pictures

    for name, picture in pictures().items():
        picture.save(BRAND_FOLDER / name, optimize=True)
        print(BRAND_FOLDER / name)


if __name__ == "__main__":
    main()
