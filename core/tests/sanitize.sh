#!/bin/sh
# The core under sanitizers: native tests with address + undefined and with thread, then tests/native (Python) with
# address + undefined. Run by `make sanitize`; needs cmake, ninja and an environment with the [dev] extra on PATH.
#   core/tests/sanitize.sh [native | thread | python]...     all three by default
set -eu
cd "$(dirname "$0")/../.."
JOBS=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
CXX=${CXX:-g++}
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

build_native() {  # folder, sanitizers
    cmake -S . -B "$1" -G Ninja -DCMAKE_CXX_COMPILER="$CXX" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
        -DOUTCROP_NATIVE_TESTS=ON -DOUTCROP_SANITIZE="$2" >/dev/null
    cmake --build "$1" --target native_tests --parallel "$JOBS"
}

native() {
    echo "== native tests: address, undefined"
    build_native build/sanitize/address address,undefined
    ASAN_OPTIONS=detect_stack_use_after_return=1 build/sanitize/address/native_tests
}

# The thread sanitizer wants its shadow at fixed places, which address randomisation of newer kernels may take.
without_randomisation() {
    if setarch "$(uname -m)" -R true 2>/dev/null; then setarch "$(uname -m)" -R "$@"; else "$@"; fi
}

thread() {
    echo "== native tests: thread"
    build_native build/sanitize/thread thread
    without_randomisation build/sanitize/thread/native_tests
}

# The interpreter is not instrumented: the sanitizer's library comes first by LD_PRELOAD, and with it libstdc++, whose
# exceptions it must see. Leaks are not looked for, since the interpreter keeps much until its end.
python() {
    echo "== Python tests of the core: address, undefined"
    site=$PWD/build/sanitize/site
    python3 -m pip install -q --no-build-isolation --no-deps --upgrade --target "$site" \
        --config-settings build-dir=build/sanitize/python --config-settings cmake.build-type=RelWithDebInfo \
        --config-settings install.strip=false \
        --config-settings cmake.define.CMAKE_CXX_COMPILER="$CXX" \
        --config-settings cmake.define.OUTCROP_SANITIZE=address,undefined .
    # An editable install, if there is one, would be found first.
    echo "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in type(f).__module__]" \
        >"$site/sitecustomize.py"
    preload=$("$CXX" -print-file-name=libasan.so):$("$CXX" -print-file-name=libstdc++.so)
    run_python() { LD_PRELOAD=$preload ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=$site python3 "$@"; }
    run_python -c "import outcrop._core as core; assert core.__file__.startswith('$site'), core.__file__"
    run_python -m pytest -q -p no:cacheprovider tests/native
}

[ $# -gt 0 ] || set -- native thread python
for part in "$@"; do "$part"; done
