package har

import (
	"net/url"
	"slices"
)

// Match returns the entry that answers a request: the one of this URL, or else
// of one that differs in the values of its query, or else in its query. Of
// several it returns one after the other, the last one again and again. It is
// not safe for use by several goroutines.
func (a *Archive) Match(method, address string) (Entry, bool) {
	want, err := url.Parse(address)
	if err != nil {
		return Entry{}, false
	}
	for _, like := range []func(*url.URL) bool{
		func(u *url.URL) bool { return u.RawQuery == want.RawQuery },
		func(u *url.URL) bool { return slices.Equal(names(u), names(want)) },
		func(u *url.URL) bool { return true },
	} {
		var found []Entry
		for _, e := range a.Log.Entries {
			u, err := url.Parse(e.Request.URL)
			if err == nil && e.Request.Method == method && e.Response.Status > 0 && place(u) == place(want) && like(u) {
				found = append(found, e)
			}
		}
		if len(found) > 0 {
			if a.used == nil {
				a.used = map[string]int{}
			}
			key := method + " " + found[0].Request.URL
			n := min(a.used[key], len(found)-1)
			a.used[key]++
			return found[n], true
		}
	}
	return Entry{}, false
}

func place(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return u.Scheme + "://" + u.Host + path
}

// names are the names of a query, in order.
func names(u *url.URL) (list []string) {
	for name := range u.Query() {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}
