package detecting

import (
	"context"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
)

// An engine that does not answer does not say that no recovery runs.
func TestAnEngineThatDoesNotAnswer(t *testing.T) {
	c, err := client.NewLazyClient(client.Options{HostPort: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()

	if id, err := running(ctx, c, "lab:recover/shop"); err == nil {
		t.Errorf("it is said that %q runs, and nothing of the engine is known", id)
	}
}
