"""The local cloud: AWS's services in one process, the same CDK app in it, and a front door."""
