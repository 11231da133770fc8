"""The files of deploy/: fast tests of what they say; `python -m tests.deploy` runs other people's validators."""
