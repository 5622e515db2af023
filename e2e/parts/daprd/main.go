// daprd is Dapr's sidecar with only the components that our examples and tests use.
//
// Why not github.com/dapr/dapr/cmd/daprd: it links every component, one of them needs an old Go, and its package
// of components panics when it is built without them. So this file registers a few components and then starts the
// runtime just as cmd/daprd/app does (version 1.14.0).
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/dapr/components-contrib/bindings"
	"github.com/dapr/components-contrib/bindings/cron"
	bindinghttp "github.com/dapr/components-contrib/bindings/http"
	bindingkafka "github.com/dapr/components-contrib/bindings/kafka"
	bindingmqtt "github.com/dapr/components-contrib/bindings/mqtt3"
	bindingredis "github.com/dapr/components-contrib/bindings/redis"
	contribmiddleware "github.com/dapr/components-contrib/middleware"
	"github.com/dapr/components-contrib/middleware/http/routeralias"
	nrkubernetes "github.com/dapr/components-contrib/nameresolution/kubernetes"
	"github.com/dapr/components-contrib/nameresolution/mdns"
	pubsubmemory "github.com/dapr/components-contrib/pubsub/in-memory"
	"github.com/dapr/components-contrib/pubsub/jetstream"
	pubsubkafka "github.com/dapr/components-contrib/pubsub/kafka"
	pubsubmqtt "github.com/dapr/components-contrib/pubsub/mqtt3"
	pubsubredis "github.com/dapr/components-contrib/pubsub/redis"
	secretkubernetes "github.com/dapr/components-contrib/secretstores/kubernetes"
	"github.com/dapr/components-contrib/secretstores/local/env"
	"github.com/dapr/components-contrib/secretstores/local/file"
	statememory "github.com/dapr/components-contrib/state/in-memory"
	stateredis "github.com/dapr/components-contrib/state/redis"
	"github.com/dapr/dapr/cmd/daprd/options"
	"github.com/dapr/dapr/pkg/buildinfo"
	bindingsloader "github.com/dapr/dapr/pkg/components/bindings"
	httploader "github.com/dapr/dapr/pkg/components/middleware/http"
	nrloader "github.com/dapr/dapr/pkg/components/nameresolution"
	pubsubloader "github.com/dapr/dapr/pkg/components/pubsub"
	secretloader "github.com/dapr/dapr/pkg/components/secretstores"
	stateloader "github.com/dapr/dapr/pkg/components/state"
	backendloader "github.com/dapr/dapr/pkg/components/wfbackend"
	workflowloader "github.com/dapr/dapr/pkg/components/workflows"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/metrics"
	"github.com/dapr/dapr/pkg/middleware"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/runtime"
	"github.com/dapr/dapr/pkg/runtime/registry"
	"github.com/dapr/dapr/pkg/runtime/wfengine/backends/actors"
	"github.com/dapr/dapr/pkg/security"
	"github.com/dapr/kit/concurrency"
	"github.com/dapr/kit/logger"
	"github.com/dapr/kit/signals"
)

var log = logger.NewLogger("dapr.runtime")

// components registers what this daprd knows in the default registries, which registry.NewOptions hands to the
// runtime. The other kinds (locks, configuration, crypto) stay empty.
func components() *registry.Options {
	contrib := logger.NewLogger("dapr.contrib")

	b := bindingsloader.DefaultRegistry
	b.Logger = contrib
	b.RegisterInputBinding(cron.NewCron, "cron")
	b.RegisterInputBinding(func(l logger.Logger) bindings.InputBinding { return bindingkafka.NewKafka(l) }, "kafka")
	b.RegisterOutputBinding(func(l logger.Logger) bindings.OutputBinding { return bindingkafka.NewKafka(l) }, "kafka")
	b.RegisterInputBinding(func(l logger.Logger) bindings.InputBinding { return bindingmqtt.NewMQTT(l) }, "mqtt3", "mqtt")
	b.RegisterOutputBinding(func(l logger.Logger) bindings.OutputBinding { return bindingmqtt.NewMQTT(l) }, "mqtt3", "mqtt")
	b.RegisterOutputBinding(bindingredis.NewRedis, "redis")
	b.RegisterOutputBinding(bindinghttp.NewHTTP, "http")

	p := pubsubloader.DefaultRegistry
	p.Logger = contrib
	p.RegisterComponent(pubsubmemory.New, "in-memory")
	p.RegisterComponent(jetstream.NewJetStream, "jetstream")
	p.RegisterComponent(pubsubkafka.NewKafka, "kafka")
	p.RegisterComponent(pubsubmqtt.NewMQTTPubSub, "mqtt3", "mqtt")
	p.RegisterComponent(pubsubredis.NewRedisStreams, "redis")

	s := stateloader.DefaultRegistry
	s.Logger = contrib
	s.RegisterComponent(statememory.NewInMemoryStateStore, "in-memory")
	s.RegisterComponent(stateredis.NewRedisStateStore, "redis")

	sec := secretloader.DefaultRegistry
	sec.Logger = contrib
	sec.RegisterComponent(secretkubernetes.NewKubernetesSecretStore, "kubernetes")
	sec.RegisterComponent(env.NewEnvSecretStore, "local.env")
	sec.RegisterComponent(file.NewLocalSecretStore, "local.file")

	nr := nrloader.DefaultRegistry
	nr.Logger = contrib
	nr.RegisterComponent(nrkubernetes.NewResolver, "kubernetes")
	nr.RegisterComponent(mdns.NewResolver, "mdns")

	h := httploader.DefaultRegistry
	h.Logger = log
	h.RegisterComponent(func(l logger.Logger) httploader.FactoryMethod {
		return func(m contribmiddleware.Metadata) (middleware.HTTP, error) {
			return routeralias.NewMiddleware(l).GetHandler(context.TODO(), m)
		}
	}, "routeralias")

	// NewOptions takes the default registries of all kinds but these two, and without them the runtime would panic.
	wf, be := workflowloader.DefaultRegistry, backendloader.DefaultRegistry
	wf.Logger, be.Logger = contrib, contrib
	be.RegisterComponent(actors.NewActorBackend, "actor", "actors")
	return registry.NewOptions().WithWorkflows(wf).WithWorkflowBackends(be)
}

func main() {
	opts, err := options.New(os.Args[1:])
	if err != nil {
		log.Fatalf("flags: %v", err)
	}
	switch {
	case opts.RuntimeVersion:
		fmt.Println(buildinfo.Version())
		return
	case opts.BuildInfo:
		fmt.Printf("Version: %s\nGit Commit: %s\nGit Version: %s\n", buildinfo.Version(), buildinfo.Commit(), buildinfo.GitVersion())
		return
	case opts.WaitCommand: // an init step of the injector
		runtime.WaitUntilDaprOutboundReady(opts.DaprHTTPPort)
		return
	}
	opts.Logger.SetAppID(opts.AppID)
	if err := logger.ApplyOptionsToLoggers(&opts.Logger); err != nil {
		log.Fatal(err)
	}
	log.Infof("Starting Dapr Runtime -- version %s", buildinfo.Version())

	reg := components() // after the logger options, so that its logger has them
	hz := healthz.New()
	ctx := signals.Context()
	sp, err := security.New(ctx, security.Options{
		SentryAddress:           opts.SentryAddress,
		ControlPlaneTrustDomain: opts.ControlPlaneTrustDomain,
		ControlPlaneNamespace:   opts.ControlPlaneNamespace,
		TrustAnchors:            opts.TrustAnchors,
		AppID:                   opts.AppID,
		MTLSEnabled:             opts.EnableMTLS,
		Mode:                    modes.DaprMode(opts.Mode),
		Healthz:                 hz,
	})
	if err != nil {
		log.Fatal(err)
	}

	// The runtime needs the certificate that the security provider fetches, so the two run side by side.
	err = concurrency.NewRunnerManager(sp.Run, func(ctx context.Context) error {
		handler, err := sp.Handler(ctx)
		if err != nil {
			return err
		}
		rt, err := runtime.FromConfig(ctx, config(opts, reg, handler, hz))
		if err != nil {
			return err
		}
		return rt.Run(ctx)
	}).Run(ctx)
	if err != nil {
		log.Fatalf("Fatal error from runtime: %s", err)
	}
}

// config hands every flag on, under the same name.
func config(o *options.Options, reg *registry.Options, sec security.Handler, hz healthz.Healthz) *runtime.Config {
	return &runtime.Config{
		AppID:                         o.AppID,
		ActorsService:                 o.ActorsService,
		RemindersService:              o.RemindersService,
		SchedulerAddress:              o.SchedulerAddress,
		AllowedOrigins:                o.AllowedOrigins,
		ResourcesPath:                 o.ResourcesPath,
		ControlPlaneAddress:           o.ControlPlaneAddress,
		AppProtocol:                   o.AppProtocol,
		Mode:                          o.Mode,
		DaprHTTPPort:                  o.DaprHTTPPort,
		DaprInternalGRPCPort:          o.DaprInternalGRPCPort,
		DaprInternalGRPCListenAddress: o.DaprInternalGRPCListenAddress,
		DaprAPIGRPCPort:               o.DaprAPIGRPCPort,
		DaprAPIListenAddresses:        o.DaprAPIListenAddresses,
		DaprPublicPort:                o.DaprPublicPort,
		DaprPublicListenAddress:       o.DaprPublicListenAddress,
		ApplicationPort:               o.AppPort,
		ProfilePort:                   o.ProfilePort,
		EnableProfiling:               o.EnableProfiling,
		AppMaxConcurrency:             o.AppMaxConcurrency,
		EnableMTLS:                    o.EnableMTLS,
		SentryAddress:                 o.SentryAddress,
		MaxRequestSize:                o.MaxRequestSize,
		ReadBufferSize:                o.ReadBufferSize,
		UnixDomainSocket:              o.UnixDomainSocket,
		DaprGracefulShutdownSeconds:   o.DaprGracefulShutdownSeconds,
		DaprBlockShutdownDuration:     o.DaprBlockShutdownDuration,
		DisableBuiltinK8sSecretStore:  o.DisableBuiltinK8sSecretStore,
		EnableAppHealthCheck:          o.EnableAppHealthCheck,
		AppHealthCheckPath:            o.AppHealthCheckPath,
		AppHealthProbeInterval:        o.AppHealthProbeInterval,
		AppHealthProbeTimeout:         o.AppHealthProbeTimeout,
		AppHealthThreshold:            o.AppHealthThreshold,
		AppChannelAddress:             o.AppChannelAddress,
		EnableAPILogging:              o.EnableAPILogging,
		Config:                        o.Config,
		Metrics: metrics.Options{
			Enabled:   o.Metrics.Enabled(),
			Log:       log,
			Port:      o.Metrics.Port(),
			Namespace: metrics.DefaultMetricNamespace,
			Healthz:   hz,
		},
		AppSSL:         o.AppSSL,
		ComponentsPath: o.ComponentsPath,
		Registry:       reg,
		Security:       sec,
		Healthz:        hz,
	}
}
