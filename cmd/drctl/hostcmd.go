package main

import (
	"cmp"
	"os"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/serve"
)

// hostEnv names this host where no flag does.
const hostEnv = "DRCTL_HOST"

// hostFlag adds the flag that names this host.
func (a *app) hostFlag(c *cobra.Command) {
	c.Flags().StringVar(&a.host, "host", "", "name of this host in the configuration (default $"+hostEnv+", else its hostname)")
}

// hostname is the name of this host.
func (a *app) hostname() string { return cmp.Or(a.host, os.Getenv(hostEnv), serve.Hostname()) }
