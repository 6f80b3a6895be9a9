package config

import (
	_ "embed"
	"slices"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (2020-12) of the configuration file, for editors. It knows keys, types, defaults and
// patterns; what only [Load] can see, such as references and inequalities, is not in it.
func Schema() []byte { return slices.Clone(schema) }
