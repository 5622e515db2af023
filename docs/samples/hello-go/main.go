// A function in Go: a server that greets.
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

const greeting = "Hello, World!\n"

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	// Any path: a route may lead here with one of its own.
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(answer, greeting)
	})
	server := &http.Server{Addr: "0.0.0.0:" + port}

	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	ended := make(chan error)
	go func() {
		<-stop.Done()
		// Requests that have begun are answered. Kubernetes ends what takes too long.
		ended <- server.Shutdown(context.Background())
	}()

	log.Printf("listening on port %s", port)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
}
