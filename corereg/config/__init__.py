"""corereg.toml and the environment; each plugin's table stays its own.

`Config.load` reads, `Config.render` prints, `decode_table` decodes a plugin's table, `reference_markdown` writes the
reference. A Settings is a frozen Struct whose annotations use `Duration`, `Size`, `Secret` and the like.
"""

from corereg.config.decoding import Table, decode_table
from corereg.config.kinds import Duration, Host, Kind, Location, Network, PluginName, Secret, Size, WebAddress
from corereg.config.model import Config
from corereg.config.printing import redact
from corereg.config.problems import ConfigError, Origin, Problem, SettingError
from corereg.config.reference import reference_markdown
from corereg.config.sections import (
    DatabaseConfig,
    GCConfig,
    JobsConfig,
    JournalConfig,
    LogConfig,
    MetricsConfig,
    ProtocolConfig,
    ServerConfig,
    SigninConfig,
    StorageConfig,
    TLSConfig,
    TokensConfig,
    TracingConfig,
    UploadsConfig,
)
from corereg.config.units import format_duration, format_size, parse_duration, parse_size

__all__ = [
    "Config",
    "ConfigError",
    "DatabaseConfig",
    "Duration",
    "GCConfig",
    "Host",
    "JobsConfig",
    "JournalConfig",
    "Kind",
    "Location",
    "LogConfig",
    "MetricsConfig",
    "Network",
    "Origin",
    "PluginName",
    "Problem",
    "ProtocolConfig",
    "Secret",
    "ServerConfig",
    "SettingError",
    "SigninConfig",
    "Size",
    "StorageConfig",
    "TLSConfig",
    "Table",
    "TokensConfig",
    "TracingConfig",
    "UploadsConfig",
    "WebAddress",
    "decode_table",
    "format_duration",
    "format_size",
    "parse_duration",
    "parse_size",
    "redact",
    "reference_markdown",
]
