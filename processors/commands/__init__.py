"""The subcommands of `lnv`, one module each."""
