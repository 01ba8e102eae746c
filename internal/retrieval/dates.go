package retrieval

import "time"

func dateOf(p *Paper, field string) (time.Time, bool) {
	if p.Year == 0 || field != "" && field != "year" {
		return time.Time{}, false
	}
	return time.Date(int(p.Year), 1, 1, 0, 0, 0, 0, time.UTC), true
}

func valueOf(p *Paper, field string) string {
	if field == "venue" {
		return p.Venue
	}
	return ""
}
