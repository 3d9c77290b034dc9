#!/bin/sh
# Trains, measures and publishes the demo model: sh build.sh [train.py options]. See README.md.
set -eu
cd "$(dirname "$0")"

python3 -m venv build/venv
build/venv/bin/pip install --quiet --requirement requirements.txt
build/venv/bin/python train.py --out build/checkpoint "$@"
build/venv/bin/python evaluate.py build/checkpoint --json build/accuracy.json
build/venv/bin/python card.py build/checkpoint build/checkpoint.train.json build/accuracy.json

target=../../internal/demo/checkpoint
mkdir -p "$target"
cp build/checkpoint/* "$target"
