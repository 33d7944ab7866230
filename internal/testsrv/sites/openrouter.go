package sites

func openRouter() *plan { return nil }
