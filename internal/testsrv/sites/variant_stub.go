package sites

func coverVariants() []Change   { return nil }
func fieldVariants() []Change   { return nil }
func loadVariants() []Change    { return nil }
func leadVariants() []Change    { return nil }
func talkVariants() []Change    { return nil }
func keyVariants() []Change     { return nil }
func courseVariants() []Change  { return nil }
func botVariants() []Change     { return nil }
func browserVariants() []Change { return nil }
func mailVariants() []Change    { return nil }

func inUTF16(*edited) {}

const deepHTML = ""
