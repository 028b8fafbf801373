// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {AssetShares} from "../src/asset/AssetShares.sol";
import {BuyOut} from "../src/asset/BuyOut.sol";
import {Dividends} from "../src/asset/Dividends.sol";
import {SharesCast} from "./SharesCast.sol";

contract BuyOutTest is SharesCast {
    function test_a_buy_out_pays_everybody_the_same_price() public {
        uint64 number = offer(DI, 1_000);
        assertEq(token.balanceOf(DI), 900_000);
        assertEq(shares.escrowOf(roof), 100_000);
        accept(ADA, number, 40);
        accept(BO, number, 30);
        assertEq(token.balanceOf(ADA), 1_040_000);
        VM.warp(START + PERIOD);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.NotDecided.selector, number));
        shares.complete(roof);
        VM.warp(START + 2 * PERIOD);
        MORE_VM.expectEmit();
        emit BuyOut.Completed(roof, number, DI, 30);
        shares.complete(roof);
        assertEq(assets.ownerOf(roof), DI);
        assertEq(shares.escrowOf(roof), 30_000);
        assertEq(held(DI), 0);
        VM.expectRevert(abi.encodeWithSelector(Dividends.NotShared.selector, roof));
        shares.payDividend(roof, 1);

        VM.warp(START + 1_000 days);
        move(CY, DI, 5); // what is left is money, and can be sold on
        shares.surrender(roof, BO);
        shares.surrender(roof, CY);
        assertConserved();
        shares.surrender(roof, DI);
        assertEq(claim(BO), 5_000);
        assertEq(claim(CY), 20_000);
        assertEq(claim(DI), 5_000);
        assertEq(shares.sharesOf(roof), 0);
        assertEq(token.balanceOf(address(shares)), 0);
    }

    function test_an_asset_bought_out_is_shared_again_once_all_shares_are_surrendered() public {
        uint64 number = offer(ADA, 10);
        accept(BO, number, 35);
        VM.warp(START + 2 * PERIOD);
        shares.complete(roof);
        VM.startPrank(ADA);
        assets.approve(address(shares), roof);
        VM.expectRevert(abi.encodeWithSelector(AssetShares.AlreadyShared.selector, roof));
        shares.fractionalise(roof, 10, 7);
        shares.surrender(roof, CY);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.NothingToSurrender.selector, roof, CY));
        shares.surrender(roof, CY);
        shares.fractionalise(roof, 10, 7);
        VM.stopPrank();
        shares.payDividend(roof, 10);
        assertEq(claim(ADA), 10);
        assertEq(claim(CY), 250);
        assertConserved();
    }

    function test_a_bidder_who_bought_all_leaves_nothing_behind() public {
        uint64 number = offer(DI, 10);
        accept(ADA, number, 40);
        accept(BO, number, 35);
        accept(CY, number, 25);
        VM.warp(START + 2 * PERIOD);
        shares.complete(roof);
        assertEq(uint256(shares.sharingOf(roof).stage), uint256(BuyOut.Stage.WHOLE));
        assertEq(token.balanceOf(address(shares)), 0);
    }

    function test_a_bidder_who_holds_all_shares_need_not_wait() public {
        uint64 number = offer(DI, 10);
        accept(ADA, number, 40);
        accept(BO, number, 35);
        accept(CY, number, 25);
        VM.prank(DI);
        shares.redeem(roof);
        assertEq(assets.ownerOf(roof), DI);
        assertEq(shares.offerOf(roof).number, 0);
    }

    function test_a_missed_quorum_returns_the_escrow_and_a_sale_stays_a_sale() public {
        uint64 number = offer(DI, 1_000);
        accept(BO, number, 35);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.NotDecided.selector, number));
        shares.close(roof);
        VM.warp(START + PERIOD);
        VM.prank(ADA);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.TooLate.selector, number));
        shares.accept(roof, number, 40);
        VM.prank(ADA);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.TooLate.selector, number));
        shares.counter(roof, number, 1);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.NotDecided.selector, number));
        shares.complete(roof);
        shares.close(roof);
        assertEq(claim(DI), 65_000);
        assertEq(held(DI), 35);
        assertEq(token.balanceOf(DI), 965_000);
        move(DI, ADA, 1);
        assertConserved();
    }

    function test_without_an_offer_there_is_nothing_to_decide() public {
        VM.expectRevert(abi.encodeWithSelector(BuyOut.NoSuchOffer.selector, roof, 0));
        shares.complete(roof);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.NoSuchOffer.selector, roof, 0));
        shares.close(roof);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.NoSuchOffer.selector, roof, 0));
        shares.accept(roof, 0, 1);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.NoSuchOffer.selector, roof, 7));
        shares.counter(roof, 7, 1);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.NothingToSurrender.selector, roof, ADA));
        shares.surrender(roof, ADA);
        VM.expectRevert(BuyOut.NoPrice.selector);
        shares.offer(roof, 0);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.WrongPeriod.selector, 0));
        new AssetShares(assets, 0);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.WrongPeriod.selector, 365 days + 1));
        new AssetShares(assets, 365 days + 1);
    }

    /// @dev The squeeze: who holds the quorum, here through Bo as a second account, names a price far too low.
    function test_who_names_too_low_a_price_must_sell_at_it() public {
        move(CY, BO, 1); // Ada 40, Bo 36, Cy 24: two of them have the quorum
        uint64 number = offer(ADA, 1);
        VM.warp(START + PERIOD - 1);
        accept(BO, number, 36);
        VM.warp(START + 2 * PERIOD - 1);
        counter(CY, number, 7); // of Ada's 76 there are 69 left
        assertEq(held(CY), 31);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.NotDecided.selector, number));
        shares.complete(roof);
        assertConserved();
        shares.close(roof);
        assertEq(claim(ADA), 31);
        assertEq(assets.ownerOf(roof), address(shares));
    }

    function test_shares_reach_and_leave_a_bidder_by_his_offer_only() public {
        offer(ADA, 10);
        VM.prank(BO);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.BidderLocked.selector, roof, ADA));
        shares.safeTransferFrom(BO, ADA, roof, 35, "");
        VM.prank(ADA);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.BidderLocked.selector, roof, ADA));
        shares.safeTransferFrom(ADA, BO, roof, 1, "");
        move(BO, CY, 35);
    }

    function test_a_bidder_does_not_deal_with_himself() public {
        uint64 number = offer(ADA, 10);
        VM.startPrank(ADA);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.IsBidder.selector, ADA));
        shares.accept(roof, number, 1);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.IsBidder.selector, ADA));
        shares.counter(roof, number, 1);
    }

    function test_nobody_sells_or_buys_more_than_there_is() public {
        uint64 number = offer(ADA, 10);
        VM.prank(BO);
        VM.expectRevert(abi.encodeWithSelector(IERC1155Errors.ERC1155InsufficientBalance.selector, BO, 35, 36, roof));
        shares.accept(roof, number, 36);
        VM.prank(BO);
        VM.expectRevert(abi.encodeWithSelector(IERC1155Errors.ERC1155InsufficientBalance.selector, ADA, 40, 41, roof));
        shares.counter(roof, number, 41);
    }

    function test_a_higher_offer_takes_the_place_of_a_standing_one() public {
        uint64 low = offer(DI, 1_000);
        accept(BO, low, 35);
        VM.prank(ADA);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.PriceTooLow.selector, 1_050));
        shares.offer(roof, 1_049);
        uint64 high = offer(ADA, 1_050);
        assertEq(claim(DI), 65_000);
        VM.prank(CY);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.NoSuchOffer.selector, roof, low));
        shares.accept(roof, low, 25);
        accept(DI, high, 35); // bought at 1,000, sold at 1,050
        assertEq(token.balanceOf(DI), 1_001_750);
        assertConserved();
        VM.warp(START + 2 * PERIOD);
        VM.prank(CY);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.TooLate.selector, high)); // it is decided
        shares.offer(roof, 9_000);
        VM.prank(CY);
        VM.expectRevert(abi.encodeWithSelector(BuyOut.TooLate.selector, high));
        shares.counter(roof, high, 1);
        shares.complete(roof);
        assertEq(assets.ownerOf(roof), ADA);
    }

    function test_a_missed_offer_gives_way_to_any_other() public {
        offer(DI, 1_000);
        VM.warp(START + PERIOD);
        uint64 number = offer(ADA, 5);
        assertEq(shares.offerOf(roof).number, number);
        assertEq(claim(DI), 100_000);
    }

    function test_dividends_during_an_offer_belong_to_the_holders() public {
        uint64 number = offer(ADA, 10);
        accept(BO, number, 35);
        shares.payDividend(roof, 100);
        assertEq(claimable(ADA), 75);
        assertEq(claimable(BO), 0);
        assertEq(claimable(CY), 25);
    }

    /// @dev Bo 60 and Cy 40 of 100 shares of a second asset; Di buys, Bo buys some back.
    function testFuzz_a_buy_out_is_decided_by_the_quorum_alone(uint8[4] memory chosen, uint32 price_) public {
        uint256 id = register(2);
        uint128 price = uint128(bound(price_, 1, 5_000));
        uint256 paidBefore = token.balanceOf(BO) + token.balanceOf(CY) + token.balanceOf(DI);
        uint256 left = dealFor(id, price, chosen);
        assertEq(shares.offerOf(id).escrow, left * price);

        VM.warp(START + 2 * PERIOD);
        uint256 keptByBo = shares.balanceOf(BO, id);
        if (100 - left < shares.sharingOf(id).quorumShares) {
            shares.close(id);
            assertEq(shares.claimable(id, DI), left * price);
            assertEq(assets.ownerOf(id), address(shares));
        } else {
            shares.complete(id);
            assertEq(assets.ownerOf(id), DI);
            if (keptByBo > 0) shares.surrender(id, BO);
            if (shares.balanceOf(CY, id) > 0) shares.surrender(id, CY);
            assertEq(shares.claimable(id, BO), keptByBo * price);
            assertEq(shares.sharesOf(id), 0);
        }
        address[3] memory all = [BO, CY, DI];
        for (uint256 i = 0; i < 3; i++) {
            VM.prank(all[i]);
            shares.claim(id);
        }
        assertEq(token.balanceOf(BO) + token.balanceOf(CY) + token.balanceOf(DI), paidBefore);
    }

    /// @dev Quorum, what Bo and Cy sell, and what Bo buys back; returns the shares that are not Di's in the end.
    function dealFor(uint256 id, uint128 price, uint8[4] memory chosen) private returns (uint256 left) {
        VM.startPrank(BO);
        assets.approve(address(shares), id);
        shares.fractionalise(id, 100, uint128(bound(chosen[0], 67, 100)));
        shares.safeTransferFrom(BO, CY, id, 40, "");
        VM.stopPrank();
        VM.prank(DI);
        uint64 number = shares.offer(id, price);
        uint128 sold = uint128(bound(chosen[1], 0, 60));
        VM.prank(BO);
        shares.accept(id, number, sold);
        left = 100 - sold - bound(chosen[2], 0, 40);
        VM.prank(CY);
        shares.accept(id, number, uint128(bound(chosen[2], 0, 40)));
        uint128 returned = uint128(bound(chosen[3], 0, sold));
        VM.prank(BO);
        shares.counter(id, number, returned);
        left += returned;
    }
}
