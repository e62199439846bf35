"""Small classifiers as source code, for where no runtime is: C for microcontrollers, JavaScript for a page."""
