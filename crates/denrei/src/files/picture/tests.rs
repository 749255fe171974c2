//! Pictures are made here, and what is no picture.

use std::fs;
use std::path::PathBuf;

use image::{Rgb, RgbImage, RgbaImage};
use tempfile::TempDir;

use super::*;

fn written(folder: &TempDir, picture: &DynamicImage, format: ImageFormat) -> PathBuf {
    let path = folder.path().join("picture");
    picture.save_with_format(&path, format).expect("the disk takes it");
    path
}

#[test]
fn a_thumbnail_keeps_the_proportions_and_fits() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = DynamicImage::ImageRgb8(RgbImage::from_pixel(800, 400, Rgb([200, 10, 10])));
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let path = written(&folder, &picture, format);
        let looked = look(&path, format, 1 << 20, 320);
        assert_eq!(looked.size, Some((800, 400)));
        let thumbnail = looked.thumbnail.expect("it is large enough for one");
        assert_eq!(thumbnail.kind, "image/jpeg");
        let small = image::load_from_memory(&thumbnail.bytes).expect("a picture");
        assert_eq!((small.width(), small.height()), (320, 160));
    }
}

#[test]
fn what_can_be_seen_through_stays_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(&folder, &DynamicImage::ImageRgba8(RgbaImage::new(400, 400)), ImageFormat::WebP);
    let looked = look(&path, ImageFormat::WebP, 1 << 20, 320);
    assert_eq!(looked.thumbnail.expect("it is large enough for one").kind, "image/png");
}

#[test]
fn a_small_picture_is_its_own_thumbnail() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(&folder, &DynamicImage::ImageRgb8(RgbImage::new(10, 20)), ImageFormat::Png);
    let looked = look(&path, ImageFormat::Png, 1 << 20, 320);
    assert_eq!(looked.size, Some((10, 20)));
    assert!(looked.thumbnail.is_none());
}

#[test]
fn a_picture_of_too_many_pixels_is_measured_and_not_decoded() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(&folder, &DynamicImage::ImageRgb8(RgbImage::new(1000, 1000)), ImageFormat::Png);
    let looked = look(&path, ImageFormat::Png, 999_999, 320);
    assert_eq!(looked.size, Some((1000, 1000)));
    assert!(looked.thumbnail.is_none());
}

#[test]
fn a_head_that_promises_gigapixels_costs_nothing() {
    // A PNG of 100,000 by 100,000 pixels that ends after its head: the checksum of the head is right.
    let mut bomb = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    bomb.extend([0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0, 8, 2, 0, 0, 0]);
    let mut crc = u32::MAX;
    for byte in &bomb[12..] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    bomb.extend((!crc).to_be_bytes());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bomb");
    fs::write(&path, &bomb).expect("the disk takes it");
    assert!(look(&path, ImageFormat::Png, 25_000_000, 320).thumbnail.is_none());
}

#[test]
fn what_is_no_picture_has_neither_size_nor_thumbnail() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("no-picture");
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP] {
        fs::write(&path, b"GIF89a/*<script>alert(1)</script>*/").expect("the disk takes it");
        assert!(look(&path, format, 1 << 20, 320).thumbnail.is_none());
    }
}
