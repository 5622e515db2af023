// Package hello is a function for OpenFunction's functions framework: no server, no main.
package hello

import (
	"fmt"
	"net/http"

	"github.com/OpenFunction/functions-framework-go/functions"
)

func init() {
	functions.HTTP("HelloWorld", HelloWorld, functions.WithFunctionPath("/"))
}

// HelloWorld greets.
func HelloWorld(answer http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(answer, "Hello, World!")
}
