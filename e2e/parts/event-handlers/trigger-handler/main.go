// The handler of a Trigger as OpenFunction 1.x has it: an input counts for a minute after its last event, and with every event
// each subscriber whose condition holds gets it. An event is acknowledged before it is delivered, by a worker for its topic. This is written to the contract of that program, whose source no registry has.
package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	ofctx "github.com/OpenFunction/functions-framework-go/context"
	"github.com/OpenFunction/functions-framework-go/framework"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker/decls"
	exprpb "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"k8s.io/klog/v2"

	"openfunction.io/parts/event-handlers/config"
)

const window = time.Minute

var told struct {
	Inputs []struct {
		Name        string `json:"name"`
		Namespace   string `json:"namespace"`
		EventSource string `json:"eventSource"`
		Event       string `json:"event"`
	} `json:"inputs"`
	Subscribers map[string]struct {
		SinkOutputName     string `json:"sinkOutputName"`
		EventBusOutputName string `json:"eventBusOutputName"`
	} `json:"subscribers"`
}

// event is what a worker delivers.
type event struct {
	ctx  ofctx.Context
	data []byte
}

var (
	lock sync.Mutex
	// When the last event of each input came, by the input's name.
	last = map[string]time.Time{}
	// What the workers take, by topic.
	workers = map[string]chan event{}
)

func main() {
	config.Read(&told)
	for _, input := range told.Inputs {
		events := make(chan event)
		workers[fmt.Sprintf("%s-%s-%s", input.Namespace, input.EventSource, input.Event)] = events
		go work(input.Name, events)
	}
	ctx := context.Background()
	fwk, err := framework.NewFramework()
	if err != nil {
		klog.Exit(err)
	}
	fwk.RegisterPlugins(nil)
	if err := fwk.Register(ctx, TriggerHandler); err != nil {
		klog.Exit(err)
	}
	if err := fwk.Start(ctx); err != nil {
		klog.Exit(err)
	}
}

// TriggerHandler hands an event over.
func TriggerHandler(ctx ofctx.Context, in []byte) (ofctx.Out, error) {
	workers[ctx.GetTopicEvent().Topic] <- event{ctx, in}
	return ctx.ReturnOnSuccess(), nil
}

// work gives the events of an input to the subscribers whose conditions hold.
func work(input string, events chan event) {
	for event := range events {
		lock.Lock()
		last[input] = time.Now()
		var outputs []string
		for condition, subscriber := range told.Subscribers {
			if holds(condition) {
				outputs = append(outputs, subscriber.SinkOutputName, subscriber.EventBusOutputName)
			}
		}
		lock.Unlock()
		for _, output := range outputs {
			if output == "" {
				continue
			}
			if _, err := event.ctx.Send(output, event.data); err != nil {
				klog.Exitf("%s: %v", output, err)
			}
			klog.Infof("sent to %s: %s", output, event.data)
		}
	}
}

func holds(condition string) bool {
	var variables []*exprpb.Decl
	values := map[string]interface{}{}
	for _, input := range told.Inputs {
		variables = append(variables, decls.NewVar(input.Name, decls.Bool))
		at, came := last[input.Name]
		values[input.Name] = came && time.Since(at) < window
	}
	env, err := cel.NewEnv(cel.Declarations(variables...))
	if err != nil {
		klog.Exit(err)
	}
	ast, issues := env.Compile(condition)
	if issues.Err() != nil {
		klog.Exit(issues.Err())
	}
	program, err := env.Program(ast)
	if err != nil {
		klog.Exit(err)
	}
	value, _, err := program.Eval(values)
	return err == nil && value.Value() == true
}
