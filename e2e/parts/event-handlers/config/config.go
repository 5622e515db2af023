// Package config reads what a handler of events is told, as OpenFunction 1.x tells it: JSON in base64 in the variable CONFIG.
package config

import (
	"encoding/base64"
	"encoding/json"
	"os"

	"k8s.io/klog/v2"
)

// Read reads it; what is no configuration ends the process.
func Read(config interface{}) {
	text := os.Getenv("CONFIG")
	if text == "" {
		return
	}
	decoded, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		klog.Fatalf("CONFIG is not base64: %v", err)
	}
	if err := json.Unmarshal(decoded, config); err != nil {
		klog.Fatalf("CONFIG is not JSON: %v", err)
	}
}
