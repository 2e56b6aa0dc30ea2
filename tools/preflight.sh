#!/usr/bin/env bash
# Says what this machine lacks for a build, with the one command that installs it. Run by make before the first install.
set -u
python=${PYTHON:-python3} cxx=${CXX:-c++}
missing=() notes=()

lacks() { printf 'preflight: %s\n' "$1" >&2; missing+=("${@:2}"); }
compiles() { "$cxx" -std=c++20 -fsyntax-only "$@" -x c++ - >/dev/null 2>&1; }

if ! command -v "$python" >/dev/null; then
  lacks "$python is not installed" python3 python3-venv python3-dev
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
  lacks "$("$python" --version) is too old: 3.10 or newer is needed (make PYTHON=/path/to/python3.x chooses another)" python3
else
  "$python" -c 'import venv, ensurepip' 2>/dev/null || lacks "$python cannot make virtual environments" python3-venv
  # A virtual environment lists the base interpreter's headers too, so this holds inside one.
  headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  [ -e "$headers/Python.h" ] || lacks "the headers of $python are missing ($headers/Python.h)" python3-dev
fi

if ! command -v "$cxx" >/dev/null; then
  lacks "there is no C++ compiler called $cxx (CXX names another)" g++
elif ! compiles <<<$'#include <bit>\n#include <concepts>\n#include <span>\nstatic_assert(std::popcount(7u) == 3);'; then
  lacks "$cxx does not compile C++20: g++ 11 or clang 14 or newer is needed" g++
fi
command -v make >/dev/null || lacks "make is not installed" make

if ! { command -v pkg-config && pkg-config --exists 'liburing >= 2.0'; } >/dev/null 2>&1; then
  notes+=("liburing is not found: reads go through a preadv thread pool. For io_uring: apt-get install -y liburing-dev pkg-config")
fi

for note in "${notes[@]+"${notes[@]}"}"; do printf 'preflight: note: %s\n' "$note" >&2; done
[ ${#missing[@]} -eq 0 ] && exit 0

sudo=$([ "$(id -u)" -eq 0 ] || echo 'sudo ')
packages=$(printf '%s\n' "${missing[@]}" | sort -u | paste -sd ' ')
command -v apt-get >/dev/null || echo 'preflight: package names below are those of Debian and Ubuntu' >&2
printf 'preflight: install what is missing with\n    %sapt-get update && %sapt-get install -y %s\n' "$sudo" "$sudo" "$packages" >&2
exit 1
