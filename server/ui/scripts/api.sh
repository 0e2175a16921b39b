#!/bin/sh
# Remakes the OpenAPI document and the types of the client from the binary.
set -eu
cd "$(dirname "$0")/.."
"${COHORT:-../../target/release/cohort}" openapi > openapi.json
npx openapi-typescript openapi.json --output src/api/schema.ts
