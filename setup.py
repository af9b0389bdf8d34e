from setuptools import setup

# The stable ABI: one wheel serves every CPython from 3.11 on.
setup(cffi_modules=["build_codec.py:ffi"], options={"bdist_wheel": {"py_limited_api": "cp311"}})
