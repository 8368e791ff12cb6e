"""One pretraining run: the LightningModule, its Trainer, and what happens at the end of each step."""
