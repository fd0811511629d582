"""The error that ends a tool."""


class ToolError(Exception):
    """The tool cannot continue. The text of the error is the reason."""
