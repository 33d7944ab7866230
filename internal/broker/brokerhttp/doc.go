// Package brokerhttp serves a broker.Broker over HTTP, every path of brokerapi.
// It owns who may call what: the route table names the standing that each route
// takes, and one without is refused when the table is built.
//
// It must not decide anything about logins, devices, agents or grants: that is
// the broker's. It trusts neither Host nor X-Forwarded-*: the origin is the
// configured one, and a peer is who has the connection.
package brokerhttp
