"""Plots and pages: one HTML file that opens offline, figures as inline SVG."""
