package hub

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// IsURL tells whether a model is given by a URL rather than by a folder.
func IsURL(model string) bool {
	return strings.HasPrefix(model, "http://") || strings.HasPrefix(model, "https://")
}

// ParseURL reads the URL of a model's folder, to which the names of files are added. What would not
// survive that, or would show a secret in logs, is refused.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("the model's URL cannot be read: want https://HOST/FOLDER")
	case u.User != nil:
		return nil, fmt.Errorf("the URL of the model at %s holds a password: give a token instead",
			u.Host)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("%q is no URL of a model: want https://HOST/FOLDER", text)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("the URL of the model at %s has a query or a fragment: "+
			"want that of a folder, to which names of files can be added", u.Host)
	}
	return u.JoinPath("/"), nil
}

// ModelName is what people call the model at a URL: the folder's name, or the name before /resolve/
// in the layout of a model hub.
func ModelName(text string) string {
	u, err := ParseURL(text)
	if err != nil {
		return "model"
	}
	folder, _, _ := strings.Cut(u.Path, "/resolve/")
	if name := path.Base(folder); name != "/" && name != "." {
		return name
	}
	return u.Hostname()
}

// notPlain is what the name of a cache folder leaves out.
var notPlain = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// plainName tells whether name is that of a file right inside the model's folder and the cache's.
func plainName(name string) bool {
	return filepath.IsLocal(name) && !strings.ContainsAny(name, "/\\:@\x00") && name[0] != '.' &&
		!isPart(name) && len(name) <= 200
}
