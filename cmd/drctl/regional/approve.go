package regional

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"drctl/cmd/drctl/choosing"
	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/plans"
	"drctl/config"
	"drctl/internal/approval"
	"drctl/internal/fail"
	"drctl/internal/ui"
	"drctl/restore/history"
	"drctl/restore/machine"
	"drctl/workflows/recovery"
)

const opApprove = "recovery: approve"

// maxKey bounds what is read of a key.
const maxKey = 64 << 10

// approving are the flags of a person who approves.
type approving struct {
	group, step, key, as, glass string
	length                      time.Duration
	yes                         bool
}

func (f Faces) approveCommand() *cobra.Command {
	var a approving
	c := &cobra.Command{Use: "approve", Short: "Approve what the group's recovery asks for, with a signature of your own", Args: cobra.NoArgs,
		Long: `Shows what is to be approved, and signs it with your SSH key: the plan, the state that it was
checked in, and the words that you see. Any change of them voids the signature, and so
does time. Who may approve, and with which keys, is in the configuration
(recovery.GROUP.approvers); approvals count by people, however many keys one has.

--key names a private key, or the public one of a key that an agent or a security key
holds: then ssh-keygen signs.

--break-glass goes on without the approvals that are wanted, and without a signature. It is
told to everybody, and stays on the list of drctl recovery reviews until somebody has
looked at it.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.approve(cmd.Context(), a) }}
	fl := c.Flags()
	fl.StringVarP(&a.group, "group", "g", "", "group (default: the only one)")
	fl.StringVar(&a.step, "step", "", "step that asks (default: the one that does)")
	fl.StringVar(&a.key, "key", "", "SSH key (default: ~/.ssh/id_ed25519)")
	fl.StringVar(&a.as, "as", "", "your name among the approvers (default: the one whose key it is)")
	fl.DurationVar(&a.length, "for", time.Hour, "for how long the approval holds, 24h at most")
	fl.StringVar(&a.glass, "break-glass", "", "go on without the approvals that are wanted, for this reason")
	fl.BoolVar(&a.yes, "yes", false, "do not ask before it is signed")

	return c
}

func (f Faces) approve(ctx context.Context, a approving) error {
	cfg, err := f.Load()
	if err != nil {
		return err
	}

	e, group, err := f.online(ctx, a.group)
	if err != nil {
		return err
	}
	defer e.Close()
	id := e.IDs.Recover(group)

	now, err := state(ctx, e.Client, id, "")
	if err != nil {
		return fail.New(fail.NotFound, opApprove, group, "see drctl runs list", err)
	}

	s, err := asking(now, a.step)
	if err != nil {
		return err
	}

	fmt.Fprintf(f.Err, "%s\nplan  %s\nstate %s\n%d of %d people have agreed\n", s.Subject.Words, s.Subject.Plan, s.Subject.State, len(s.Agreed), s.People)

	f.verified(ctx, cfg, now)

	if now.Choices != nil {
		if err := choosing.Print(f.Err, *now.Choices); err != nil {
			return err
		}
	}

	r := recovery.Reply{Step: s.ID, Answer: machine.SayYes, By: f.By()}
	word := "approve"

	var p *pen
	if a.glass != "" {
		r.Glass, r.Reason, word = true, a.glass, "break the glass for"
	} else if p, err = a.pen(cfg, group); err != nil {
		return err
	}

	if !a.yes {
		if err := ui.Confirm(f.Err, word, "group", group); err != nil {
			return err
		}
	}

	if p != nil {
		if r.Approval, err = p.sign(ctx, *s.Subject, a.length, f.Err); err != nil {
			return err
		}
		r.By = p.by
	}

	if err := e.Client.SignalWorkflow(ctx, id, "", recovery.Answer, r); err != nil {
		return fail.New(fail.Unavailable, opApprove, group, "see drctl recovery show", err)
	}

	return f.taken(ctx, e.Client, id, group, len(now.Answers), r)
}

// verified tells who approves whether the plan has been shown to work.
func (f Faces) verified(ctx context.Context, cfg *config.Config, now recovery.Out) {
	set, err := configured.Answering(ctx, cfg, now.Group)
	if err != nil {
		fmt.Fprintf(f.Err, "plan  UNVERIFIED, as far as is known: no vault tells: %v\n", err)
		return
	}

	past := history.Read(ctx, set, now.Group, time.Now(), plans.VerifiedFor(cfg, now.Group))
	fmt.Fprintln(f.Err, "plan ", past.Verified(history.Ask{Plan: now.Plan, To: now.To, Mode: now.Mode, Not: now.Run}))

	if err := past.Err(); err != nil {
		fmt.Fprintf(f.Err, "not all of it is known: %v\n", err)
	}
}

// asking is the step of a run that wants approvals.
func asking(now recovery.Out, step string) (recovery.Step, error) {
	for _, s := range now.Steps {
		if s.Question == machine.AskApprove && s.Subject != nil && (step == "" || s.ID == step) {
			return s, nil
		}
	}

	return recovery.Step{}, fail.New(fail.NotFound, opApprove, now.Group, "see what is asked: drctl recovery show --group "+now.Group, errors.New("nothing wants to be approved now"))
}

// pen is what a person signs with.
type pen struct {
	by, key string
	private ssh.Signer // nil where ssh-keygen has to sign
}

// pen finds it; nil where the configuration names nobody whose signature counts.
func (a approving) pen(cfg *config.Config, group string) (*pen, error) {
	rec := cfg.Recovery[group]
	if rec == nil || len(rec.Approvers) == 0 {
		return nil, nil
	}

	p := pen{by: a.as, key: a.key}
	if home, err := os.UserHomeDir(); p.key == "" && err == nil {
		p.key = filepath.Join(home, ".ssh", "id_ed25519")
	}

	var public ssh.PublicKey

	var err error
	if p.private, public, err = keyOf(p.key); err != nil {
		return nil, err
	}

	if p.by == "" {
		p.by = owner(cfg, group, public)
	}

	if p.by == "" {
		return nil, fail.New(fail.Denied, opApprove, p.key, "use another key, or have it added to recovery."+group+".approvers", fmt.Errorf("it is none of %s", strings.Join(slices.Sorted(maps.Keys(rec.Approvers)), ", ")))
	}

	return &p, nil
}

func (p pen) sign(ctx context.Context, s approval.Subject, length time.Duration, tell io.Writer) (*approval.Approval, error) {
	now := time.Now().UTC().Truncate(time.Second)
	x := approval.Approval{Subject: s, By: p.by, At: now, Expires: now.Add(length)}

	var err error
	if p.private != nil {
		x, err = approval.Sign(x, p.private)
	} else {
		x.Signature, err = keygen(ctx, p.key, x.Message(), tell)
	}

	return &x, err
}

// keyOf reads a key. private is nil for one that only an agent, a passphrase or a security key
// opens.
func keyOf(path string) (private ssh.Signer, public ssh.PublicKey, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fail.New(fail.NotFound, opApprove, path, "name your SSH key with --key; it is one of recovery.GROUP.approvers", err)
	}

	if err != nil {
		return nil, nil, fail.FromOS(opApprove, path, err)
	}
	defer f.Close()

	b, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return nil, nil, fail.FromOS(opApprove, path, err)
	}

	if private, err = ssh.ParsePrivateKey(b); err == nil {
		return private, private.PublicKey(), nil
	}

	if public, _, _, _, perr := ssh.ParseAuthorizedKey(b); perr == nil {
		return nil, public, nil
	}

	if b, rerr := os.ReadFile(path + ".pub"); rerr == nil {
		if public, _, _, _, perr := ssh.ParseAuthorizedKey(b); perr == nil {
			return nil, public, nil
		}
	}

	return nil, nil, fail.New(fail.Invalid, opApprove, path, "make one with ssh-keygen -t ed25519", err)
}

// owner is the approver whose key it is.
func owner(cfg *config.Config, group string, key ssh.PublicKey) string {
	for name, p := range cfg.Recovery[group].Approvers {
		for _, line := range p.Keys {
			k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
			if err == nil && slices.Equal(k.Marshal(), key.Marshal()) {
				return name
			}
		}
	}

	return ""
}

// keygen has ssh-keygen sign: it asks for passphrases, agents and touches.
func keygen(ctx context.Context, key string, message []byte, tell io.Writer) (string, error) {
	dir, err := os.MkdirTemp("", "drctl-approve-")
	if err != nil {
		return "", fail.FromOS(opApprove, "", err)
	}
	defer os.RemoveAll(dir)

	file := filepath.Join(dir, "approval")
	if err := os.WriteFile(file, message, 0o600); err != nil {
		return "", fail.FromOS(opApprove, file, err)
	}

	c := exec.CommandContext(ctx, "ssh-keygen", "-Y", "sign", "-f", key, "-n", "drctl", file)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, tell, tell

	if err := c.Run(); err != nil {
		return "", fail.New(fail.Denied, opApprove, key, "install openssh-client 8.2 or later; see that an agent has the key (ssh-add -l)", err)
	}

	b, err := os.ReadFile(file + ".sig")
	if err != nil {
		return "", fail.FromOS(opApprove, file, err)
	}

	return string(b), nil
}
