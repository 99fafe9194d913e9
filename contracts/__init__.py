"""What services may know of each other: versioned wire models, exported documents, clients."""
