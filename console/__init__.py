"""The `parade` command.

commands/     one file for each command
local/        `parade up`: the whole system on this machine
observe/      a deployment as Redis shows it: read, compared, with advice
web/          the dashboard

app.py        how the command begins and ends; starts a service
cli.py        all commands, as `--help` lists them
options.py    options that commands share, and which deployment they mean
target.py     which deployment a simulation is for
hearing.py    is a client, for `parade tap --at`
terminal.py   text for people
files.py      files that others can't interfere with
"""
