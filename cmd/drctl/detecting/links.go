package detecting

import (
	"context"
	"sync"

	"drctl/internal/detection/lookout"
	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
)

// links ask standbys through the hands that would promote them, and keep these hands:
// their session costs a server a process and a login.
type links struct {
	mu    sync.Mutex
	hands map[string]handover.Switch // by both addresses
}

// ask asks a standby. Hands that failed are not kept.
func (l *links) ask(ctx context.Context, d targets.Driver, primary, standby targets.Instance) (lookout.Link, error) {
	key := primary.String() + " " + standby.String()

	h, err := l.take(key, d, primary, standby)
	if err != nil {
		return lookout.Link{}, err
	}

	k, ok := h.(handover.Linked)
	if !ok {
		h.Close()
		return lookout.Link{}, none(standby)
	}

	x, err := k.Link(ctx)
	if err != nil {
		h.Close()
		return lookout.Link{}, err
	}

	l.mu.Lock()
	defer l.mu.Unlock()

	if l.hands == nil || l.hands[key] != nil {
		h.Close()
	} else {
		l.hands[key] = h
	}

	return lookout.Link{Up: x.Up, Silent: x.Silent}, nil
}

func none(standby targets.Instance) error {
	return fail.Newf(fail.Unsupported, op, standby.String(), "stores of this kind have no standby that could be asked")
}

// take has the hands for one question alone.
func (l *links) take(key string, d targets.Driver, primary, standby targets.Instance) (handover.Switch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	if h := l.hands[key]; h != nil {
		delete(l.hands, key)
		return h, nil
	}

	sw, ok := d.(handover.Switcher)
	if !ok {
		return nil, none(standby)
	}

	return sw.Switch(handover.Request{Old: primary, New: standby})
}

// close ends all sessions; none is kept any more.
func (l *links) close() {
	l.mu.Lock()
	defer l.mu.Unlock()

	for _, h := range l.hands {
		h.Close()
	}
	l.hands = nil
}
