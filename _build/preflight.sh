#!/bin/sh
# Name everything that building fastloss needs and this machine lacks, at once. Silent when all is
# there. Uses only POSIX sh, because python3 itself may be what is missing.

python=${PYTHON:-python3}
cxx=${CXX:-g++}
missing=""

miss() {
  missing="$missing
  - $1"
}

if ! command -v "$python" >/dev/null 2>&1; then
  miss "$python: Python 3.10 or later (Debian, Ubuntu: python3 python3-venv python3-dev)"
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
  miss "Python 3.10 or later: $python is $("$python" --version 2>&1); choose another by PYTHON=..."
else
  "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
    miss "Python's venv module (Debian, Ubuntu: python3-venv)"
  "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
    miss "Python.h, the headers of $python (Debian, Ubuntu: python3-dev; Fedora: python3-devel)"
fi

if ! command -v "$cxx" >/dev/null 2>&1; then
  miss "$cxx: a C++20 compiler (Debian, Ubuntu: g++; Fedora: gcc-c++)"
elif ! printf '#include <omp.h>\n#include <span>\nstd::span<int> s;' |
  "$cxx" -std=c++20 -fopenmp -fsyntax-only -x c++ - >/dev/null 2>&1; then
  miss "a C++ compiler with C++20 and OpenMP (GCC 11 or later): $cxx is $("$cxx" -dumpversion)"
fi

command -v make >/dev/null 2>&1 || miss "make"

case "$(uname -s)-$(uname -m)" in
  Linux-x86_64 | Linux-amd64) ;;
  *) miss "Linux on x86-64: this is $(uname -s) on $(uname -m); other systems are not tested yet" ;;
esac

if [ -n "$missing" ]; then
  echo "fastloss cannot be built here yet. Missing:$missing" >&2
  exit 1
fi
