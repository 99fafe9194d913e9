"""The CDK app's parts: settings, bundling, security, constructs and stacks."""
