package hub

import (
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The last try comes when the patience ends, not a long wait after that.
func TestRetryEndsWithThePatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &client{
			base: &url.URL{Host: "origin"}, log: slog.New(slog.DiscardHandler), pace: defaultPace(),
		}
		began, last := time.Now(), time.Duration(0)
		err := c.retry(t.Context(), "config.json", c.pace.open, func() (bool, error) {
			last = time.Since(began)
			return false, errors.New("connection refused")
		})
		if err == nil || !strings.Contains(err.Error(), "read config.json from origin: gave up after 15s") {
			t.Errorf("error %v", err)
		}
		if last != c.pace.open || time.Since(began) != last {
			t.Errorf("the last try was after %v, the end after %v, want both after %v",
				last, time.Since(began), c.pace.open)
		}
	})
}
