"""The error that ends a tool."""


class ToolError(Exception):
    """The tool cannot continue; the text is the reason."""
