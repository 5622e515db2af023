// What is looked up for programs of the framework and its own samples.
package main

import (
	_ "github.com/OpenFunction/functions-framework-go/framework"
	_ "github.com/cloudevents/sdk-go/v2"
	_ "github.com/fatih/structs"
	_ "k8s.io/klog/v2"
)

func main() {}
