package sites

func anthropic() *plan { return nil }
