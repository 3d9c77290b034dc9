package openai

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const (
	// corsMaxAge is how long, in seconds, a browser may keep a preflight's answer:
	// the longest that browsers honour.
	corsMaxAge = "86400"
	// maxCORSHeaders bounds the list of headers that is granted as it was asked.
	maxCORSHeaders = 4096
	// exposed are the headers of answers that scripts may read: OpenAI's clients
	// want to.
	exposed = "X-Request-Id, Retry-After, X-Should-Retry"
)

// checkOrigin returns what is wrong with an origin that may be allowed.
func checkOrigin(origin string) error {
	if origin == "*" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme == "" || u.Host == "" || origin != u.Scheme+"://"+u.Host ||
		origin != strings.ToLower(origin) {
		return fmt.Errorf("CORS origin %q: want * or a scheme and a host as browsers write them, "+
			"such as https://example.com", origin)
	}
	return nil
}

// cors tells browsers that pages of the allowed origins may use h. Without any
// it is h: no header is sent.
func (s *Server) cors(h http.Handler) http.Handler {
	allowed := s.cfg.Access.Origins
	if len(allowed) == 0 {
		return h
	}
	all := slices.Contains(allowed, "*")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header, origin := w.Header(), r.Header.Get("Origin")
		if !all {
			header.Add("Vary", "Origin")
		}
		if origin == "" || !all && !slices.Contains(allowed, origin) {
			h.ServeHTTP(w, r)
			return
		}
		if all {
			origin = "*" // no cookies are in use, so that it is enough
		}
		header.Set("Access-Control-Allow-Origin", origin)
		if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
			header.Set("Access-Control-Expose-Headers", exposed)
			h.ServeHTTP(w, r)
			return
		}
		// OpenAI's clients send headers of their own, so what is asked is granted.
		headers := r.Header.Get("Access-Control-Request-Headers")
		if headers == "" || len(headers) > maxCORSHeaders {
			headers = "Authorization, Content-Type"
		}
		header.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
		header.Set("Access-Control-Allow-Headers", headers)
		header.Set("Access-Control-Max-Age", corsMaxAge)
		w.WriteHeader(http.StatusNoContent)
	})
}
