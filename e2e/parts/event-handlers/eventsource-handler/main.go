// The handler of an EventSource as OpenFunction 1.x has it: it sends what it is given to the bus, then to the sink. This is
// written to the contract of that program, whose source no registry has.
package main

import (
	"context"

	ofctx "github.com/OpenFunction/functions-framework-go/context"
	"github.com/OpenFunction/functions-framework-go/framework"
	"k8s.io/klog/v2"

	"openfunction.io/parts/event-handlers/config"
)

var told struct {
	EventBusOutputName string `json:"eventBusOutputName"`
	SinkOutputName     string `json:"sinkOutputName"`
}

func main() {
	config.Read(&told)
	ctx := context.Background()
	fwk, err := framework.NewFramework()
	if err != nil {
		klog.Exit(err)
	}
	fwk.RegisterPlugins(nil)
	if err := fwk.Register(ctx, EventSourceHandler); err != nil {
		klog.Exit(err)
	}
	if err := fwk.Start(ctx); err != nil {
		klog.Exit(err)
	}
}

// EventSourceHandler sends an event on.
func EventSourceHandler(ctx ofctx.Context, in []byte) (ofctx.Out, error) {
	for _, output := range []string{told.EventBusOutputName, told.SinkOutputName} {
		if output == "" {
			continue
		}
		if _, err := ctx.Send(output, in); err != nil {
			klog.Exitf("%s: %v", output, err)
		}
		klog.Infof("sent to %s: %s", output, in)
	}
	return ctx.ReturnOnSuccess(), nil
}
