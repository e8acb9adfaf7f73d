"""`bamboo doctor chaos`: works a private system hard, kills its parts meanwhile, and checks what came of it."""
