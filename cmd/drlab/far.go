package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"drctl/internal/lab"
	"drctl/internal/lab/delay"
	"drctl/targets"
)

func (a *app) farCmd() *cobra.Command {
	var roundTrip time.Duration
	var listen string
	c := &cobra.Command{
		Use: "far SHARD", Short: "Put a shard behind a slow network until interrupted", Args: cobra.ExactArgs(1),
		Long: `Listens on an address and hands everything on to the shard's primary, late. Name
that address in drctl.yaml in place of the primary's.`,
		Example: "  drlab far orders/3 --round-trip 40ms --listen 127.0.0.1:7003",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.open()
			if err != nil {
				return err
			}
			id, err := targets.ParseShardID(args[0])
			if err != nil {
				return err
			}
			in, err := l.Instance(lab.East, id)
			if err != nil {
				return err
			}
			p, err := delay.Listen(listen, in.Address, roundTrip)
			if err != nil {
				return err
			}
			defer p.Close()
			fmt.Fprintf(a.out, "%s is %s away at %s\n", id, roundTrip, p.Address())
			<-cmd.Context().Done()
			return nil
		},
	}
	c.Flags().DurationVar(&roundTrip, "round-trip", 40*time.Millisecond, "how much longer a round trip takes")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address to listen on")

	return c
}
