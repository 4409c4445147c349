import pixwire

with pixwire.Client("pixwire://localhost") as client:
    image = client.generate("a red circle on a blue background", seed=7)
    image.save("circle.png")
