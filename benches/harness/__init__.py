"""The one bench harness of the project: declares, runs and reports. See benches/README.md."""
