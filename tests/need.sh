#!/bin/sh
# need.sh PYTHON TOOL...: prints what to install, in one line, if a tool is missing or too old; nothing otherwise.
# The Makefile asks before it builds anything. Kinds of tools: rust, cc, python, node.
python=$1
shift
missing=

lacks() { missing="$missing${missing:+; }$1"; }

# at_least WANTED FOUND, both MAJOR.MINOR
at_least() {
    [ "${2%%.*}" -gt "${1%%.*}" ] 2>/dev/null && return
    minor=${2#*.}
    [ "${2%%.*}" -eq "${1%%.*}" ] 2>/dev/null && [ "${minor%%.*}" -ge "${1#*.}" ] 2>/dev/null
}

for tool; do
    case $tool in
    rust)
        found=$(cargo --version 2>/dev/null | cut -d' ' -f2)
        at_least 1.88 "${found:-0.0}" || lacks "Rust 1.88 or newer with cargo (install it with rustup)${found:+, found $found}"
        ;;
    cc)
        command -v "${CC:-cc}" >/dev/null 2>&1 || lacks "a C compiler called ${CC:-cc} (Debian: apt-get install gcc libc6-dev)"
        ;;
    python)
        found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
        if ! at_least 3.10 "${found:-0.0}"; then
            lacks "Python 3.10 or newer called $python (Debian: apt-get install python3 python3-venv)${found:+, found $found}"
        elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            lacks "Python's venv module (Debian: apt-get install python3-venv)"
        fi
        ;;
    node)
        found=$(node --version 2>/dev/null | cut -c2-)
        if ! at_least 18.0 "${found:-0.0}"; then
            lacks "Node.js 18 or newer (install nodejs)${found:+, found $found}"
        elif ! command -v npm >/dev/null 2>&1; then
            lacks "npm (Debian: apt-get install npm)"
        fi
        ;;
    esac
done
[ -z "$missing" ] || echo "please install $missing"
