"""The rules for who may use the server over HTTP."""

from pattern_metrics.consumer.http.server import is_loopback
from pattern_metrics.consumer.http.tokens import Tokens
from pattern_metrics.consumer.settings import InvalidSettingError, McpSettings


def load_mcp_tokens(settings: McpSettings) -> Tokens | None:
    """Return the tokens of MCP_TOKENS_FILE; None if none are required.

    Raises:
        InvalidSettingError: the file cannot be used; or HTTP_HOST is no loopback address, and the file or
            MCP_ALLOWED_HOSTS is missing.
    """
    if not is_loopback(settings.http_host):
        for name in ("mcp_tokens_file", "mcp_allowed_hosts"):
            if getattr(settings, name) is None:
                raise InvalidSettingError(
                    f"{name.upper()}: is required, because --http is not a loopback address"
                )
    return None if settings.mcp_tokens_file is None else Tokens(settings.mcp_tokens_file, "MCP_TOKENS_FILE")
