"""Safe readers of foreign files and exporters."""
