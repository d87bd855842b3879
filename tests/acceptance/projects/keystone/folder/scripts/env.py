"""Register keystone's options, as keystone-manage does, then run keystone's own env.py."""

import runpy

import keystone.conf

keystone.conf.configure()
runpy.run_path("migrations/env.py")
