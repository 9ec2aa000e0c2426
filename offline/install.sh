#!/bin/sh
# Install fairseq-minimodel from this folder, without a network, git or make.
#   sh install.sh ENVIRONMENT               a new virtual environment, with the PyTorch of this folder
#   sh install.sh --keep-torch ENVIRONMENT  a new one that sees the packages of the Python it is made
#                                           with, PyTorch among them
# An environment that is there already (venv, conda) is installed into. A PyTorch that is found is
# never replaced. PYTHON names another Python; CC and CXX another compiler.
set -eu
export LC_ALL=C

fail() {
  printf 'install.sh: error: %s\n' "$1" >&2
  exit 2
}

keep_torch=
if [ "${1:-}" = --keep-torch ]; then
  keep_torch=yes
  shift
fi
case $#${1:-} in
1/*) environment=$1 ;;
1[!-]*) environment=$PWD/$1 ;;
*) fail "call it as: sh install.sh [--keep-torch] ENVIRONMENT" ;;
esac

folder=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
[ -e "$folder/SHA256SUMS" ] || fail "$folder/SHA256SUMS is missing: copy the whole folder again"
bad=$(cd "$folder" && sha256sum --check --quiet SHA256SUMS 2>/dev/null) ||
  fail "$folder/$(echo "$bad" | sed -n '1s/: FAILED.*//p') is damaged or missing: copy it again"
python_version='' machine='' glibc='' torch='' oldest_torch=''
# shellcheck source=/dev/null
. "$folder/target"

# --- Python and compiler ---

made=
if [ -x "$environment/bin/python" ]; then
  python=$environment/bin/python
elif [ -e "$environment" ]; then
  fail "$environment exists and is not a Python environment: name a new folder"
else
  made=yes
  python=${PYTHON:-python$python_version}
  [ -n "${PYTHON:-}" ] || "$python" -c '' 2>/dev/null || python=python3
fi
"$python" -c '' 2>/dev/null ||
  fail "$python does not run: install Python $python_version, or name one, as in PYTHON=/opt/bin/python$python_version"
"$python" - "$python" "$python_version" "$machine" "$glibc" <<'PYTHON' || exit 2
import os, platform, re, shlex, shutil, subprocess, sys, sysconfig, tempfile

program, version, machine, glibc = sys.argv[1:]


def fail(sentence):
    sys.stderr.write("install.sh: error: " + sentence + "\n")
    sys.exit(2)


found = "%d.%d" % sys.version_info[:2]
if found != version:
    fail("%s is Python %s and this folder is for %s: name another Python, as in PYTHON=python%s, or "
         "gather again with FOR_PYTHON=%s" % (program, found, version, version, found))
if platform.machine() != machine:
    fail("this machine is %s and the folder is for %s: gather on a machine like this one"
         % (platform.machine(), machine))
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION")
except (ValueError, OSError):
    libc = "no glibc"
numbers = re.findall(r"\d+", libc)
if not numbers or [int(number) for number in numbers[:2]] < [int(part) for part in glibc.split(".")]:
    fail("this machine has %s and the folder is for glibc %s or newer: gather again with the "
         "FOR_GLIBC that `ldd --version` says here" % (libc, glibc))
compilers = []
for variable in ("CC", "CXX"):
    compilers = shlex.split(os.environ.get(variable) or sysconfig.get_config_var(variable))
    if not shutil.which(compilers[0]):
        fail("no compiler %s was found, which fairseq needs: install one (gcc and g++), load its "
             "module, or name it in CC and CXX" % compilers[0])
with tempfile.TemporaryDirectory() as folder:
    source = os.path.join(folder, "try.cpp")
    with open(source, "w") as file:
        file.write("#include <optional>\n#include <Python.h>\n")
    command = compilers + ["-std=c++17", "-fsyntax-only", "-I" + sysconfig.get_path("include")]
    result = subprocess.run(command + [source], stderr=subprocess.PIPE, universal_newlines=True)
if result.returncode and "Python.h" in result.stderr:
    fail("the headers of Python %s are missing, which fairseq needs: install python%s-dev (Debian) "
         "or python%s-devel (Red Hat), or name a Python that has them, as in PYTHON=..."
         % (found, found, found))
if result.returncode:
    fail("%s does not compile C++17, which PyTorch needs: name a newer compiler in CC and CXX (%s)"
         % (compilers[0], result.stderr.strip().split("\n")[0]))
PYTHON

# --- the environment ---

if [ -n "$made" ]; then
  trap 'rm -rf "$environment"' EXIT # of no use half made; undone at the end
  trap 'exit 130' HUP INT TERM
  "$python" -m venv --without-pip ${keep_torch:+--system-site-packages} "$environment" ||
    fail "$python could not make an environment in $environment: its message is above"
  python=$environment/bin/python
fi

pip=$(echo "$folder"/wheels/pip-*.whl)/pip # Python runs it from within the wheel
install() { # no index, and no setting of the user's by which pip would look elsewhere
  PIP_CONFIG_FILE=/dev/null "$python" "$pip" --isolated install --no-index \
    --find-links "$folder/wheels" --no-cache-dir --disable-pip-version-check "$@" ||
    fail "pip could not install this: its message is above"
}

found=$("$python" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null) || true
if [ -n "$found" ]; then
  [ "$(printf '%s\n' "$oldest_torch" "$found" | sort -V | head -n 1)" = "$oldest_torch" ] ||
    fail "PyTorch $found is there, but $oldest_torch is needed: name a new environment, or update it there"
  torch=
  echo "Keeping PyTorch $found"
elif [ -n "$keep_torch" ]; then
  fail "$python has no PyTorch to keep: load its module, name the Python that has it in PYTHON, or its environment instead of $environment"
elif [ -z "$torch" ]; then
  fail "this folder has no PyTorch, and $python has none: name the environment that has it, or use --keep-torch"
fi
install ${torch:+"$torch"} --requirement "$folder/requirements.txt"
# Compiled here and never taken from a cache, which may hold one for another PyTorch. With CUDA_HOME
# set, fairseq would compile CUDA code too, which needs the CUDA of this PyTorch and is of no use here.
unset CUDA_HOME
echo "Compiling fairseq; this takes some minutes"
install --no-build-isolation --no-deps "$folder"/wheels/fairseq*.tar.gz
install --no-deps --force-reinstall "$folder"/wheels/fairseq_minimodel-*.whl

(cd / && "$python" -c 'import fairseq, fairseq_minimodel as m, torch; print(
  "Installed: fairseq-minimodel", m.__version__, "with PyTorch", torch.__version__)') ||
  fail "what was installed does not import: its message is above"
trap - EXIT
[ -z "$made" ] || echo "To use it: . $environment/bin/activate"
