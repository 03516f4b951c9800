"""The MCP server: language models read scores, score code and publish, with six tools."""
